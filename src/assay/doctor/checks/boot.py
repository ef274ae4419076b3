"""How a word gets onto the kernel's command line."""

from __future__ import annotations


def with_boot_parameter(parameter: str) -> str:
    """The commands that make Debian and Ubuntu start with it."""
    return (
        f"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{parameter} /' /etc/default/grub"
        " && update-grub && reboot"
    )
