"""The five kinds of network: how each is trained and how it reads a plane."""
