# Read behind driver/prelude.py on NixOS: what the module has done already.


def log(message):
    machines[0].log(str(message))


def install_package(node):
    node.succeed("walkeep --version")


def write_config(node, **_):
    node.succeed("test -e /etc/walkeep/walkeep.toml")


def role_for_daemon(node, port=5432):
    node.wait_for_unit("walkeep-role.service", timeout=60)


def set_up(node, **_):
    """From the booted system to a cluster that archives."""
    wait_for_postgres(node)
    role_for_daemon(node)
    node.succeed("walkeep init 2>&1")
    node.succeed("systemctl restart walkeep.service")
    node.wait_for_unit("walkeep.service", timeout=30)
