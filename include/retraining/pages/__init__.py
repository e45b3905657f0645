"""What pages about versions share: figures as data, charts, HTML that needs no script and no network."""
