"""What lies on disk or comes from elsewhere: the cache folder, downloads, locks, hashes, weights."""
