"""Readers of table files, a module a format; `popinfer.data.catalog_io` chooses among them."""
