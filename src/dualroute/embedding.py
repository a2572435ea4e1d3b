"""The contract of an embedding (texts to vectors), and the light local default."""
