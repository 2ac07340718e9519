"""The inference form of the network, and the threads it runs on."""
