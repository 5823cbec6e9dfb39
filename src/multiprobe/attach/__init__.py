"""Plans, links, reports: how one program gets onto many functions."""
