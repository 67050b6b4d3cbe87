"""Everything an end-to-end test needs: the proxy as a process, upstreams, a resolver, clients."""
