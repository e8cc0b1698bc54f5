"""LoRA adapters as PEFT writes them."""
MEND = ""
def is_adapter(path): return (path / "adapter_config.json").is_file()
