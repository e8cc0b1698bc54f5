"""Packages that were never built, as an environment holds them."""

from atlas.workflow.digest import packages


def install(folder, name, version, requires=(), modules=()):
    """Put a distribution into a folder that stands for site-packages."""
    for module in modules:
        (folder / module).mkdir(parents=True, exist_ok=True)
        (folder / module / "__init__.py").touch()
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (info / "METADATA").write_text("\n".join([*lines, "", "Version: 99", "Requires-Dist: typed"]))
    (info / "RECORD").write_text("".join(f"{module}/__init__.py,,\n" for module in modules))


def forget():
    """Look at what is installed anew."""
    for cached in (packages.versions_of, packages.distributions_of, packages._read, packages._needed):
        cached.cache_clear()
