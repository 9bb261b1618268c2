"""The foundation of all other packages: errors, files, processes, and strict parsing of documents."""
