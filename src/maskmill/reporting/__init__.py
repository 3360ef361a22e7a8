"""HTML pages, pictures and tables of results; every page is one self-contained file."""
