"""Parts of the monitoring's page: what it is made from, its first lines, charts, tables and looks."""
