"""Predictors that come with the package; reached by name through the registry."""
