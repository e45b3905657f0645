"""Everything that changes a version: the facade, promotion, repair, retention."""
