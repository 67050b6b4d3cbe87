"""Smuggling and malformed messages: tables of cases, and what is needed to judge them."""
