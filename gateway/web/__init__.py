"""Everything that imports aiohttp."""
