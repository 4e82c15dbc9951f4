"""HTTPX transports for production code: recorder, retry, fallback cache, warm-up."""
