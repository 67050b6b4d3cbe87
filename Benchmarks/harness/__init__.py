"""Measuring edge-proxy beside other proxies; Python standard library only."""
