"""CPU per request of this server and of its peers: same data, same requests, same run."""
