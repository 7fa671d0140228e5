"""The datapath without the kernel's help: an asyncio relay, exact round robin."""
