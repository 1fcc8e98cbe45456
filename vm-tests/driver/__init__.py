"""Boots guests, and offers scenarios what the NixOS test driver offers them.

  image     what guests are booted from, made once
  machine   the driver's API, whatever a guest runs in
  module    a guest with what the NixOS module makes
  nspawn    a guest in systemd-nspawn
  qemu      a guest in QEMU
  scenario  one scenario file and the guests it names
"""
