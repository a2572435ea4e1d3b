"""Routing rules from the literature, as reconstructions; reached by name through the registry."""
