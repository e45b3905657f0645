"""Any model's pipeline: what a version is compared, reviewed, used and watched with. It knows no model by name."""
