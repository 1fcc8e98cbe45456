# Read behind driver/prelude.py on NixOS: what the module has done already.


def log(message):
    machines[0].log(str(message))


def install_package(node):
    node.wait_for_unit("multi-user.target", timeout=60)
    node.succeed("walkeep --version")


def write_config(node, name="walkeep", **_):
    node.succeed(f"test -e /etc/walkeep/{name}.toml")


create_role = role_for_daemon


def role_for_daemon(node, port=5432):
    """The module makes it for services.postgresql, and for no other."""
    if node.execute("systemctl cat walkeep-role.service")[0] == 0:
        node.wait_for_unit("walkeep-role.service", timeout=60)
    else:
        create_role(node, port)


def configure(node, **_):
    """From the system as it is to a cluster that archives."""
    wait_for_postgres(node)
    role_for_daemon(node)
    node.succeed("walkeep init 2>&1")
    node.succeed("systemctl restart walkeep.service")
    node.wait_for_unit("walkeep.service", timeout=30)


def switch_to(node, name=None):
    """To a specialisation of the system, or back from it."""
    system = "/run/booted-system" + (f"/specialisation/{name}" if name else "")
    node.succeed(f"{system}/bin/switch-to-configuration test 2>&1", timeout=120)
