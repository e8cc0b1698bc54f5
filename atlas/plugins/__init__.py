"""What other packages bring to Atlas: methods, metrics and readers of pools, see docs/plugins.md."""
