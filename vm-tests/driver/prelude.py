# Read before each scenario: the names that both kinds of guests go by, and
# the steps that several scenarios share. The NixOS test driver reads it too,
# so it uses nothing but that driver's API.

GUEST = globals().get("GUEST", "nixos")
IS_DEBIAN = GUEST == "debian"
# Units, settings and directories are the module's: nixos/prelude.py.
IS_NIXOS = GUEST == "nixos"
PG_UNIT = "postgresql@17-main.service" if IS_DEBIAN else "postgresql.service"
PGDATA = "/var/lib/postgresql/17" + ("/main" if IS_DEBIAN else "")
STAGING = "/var/lib/walkeep/staging"


def as_postgres(command):
    return f"runuser -u postgres -- {command}"


def psql(node, query, port=5432):
    """One query's answer, as psql prints it bare."""
    quoted = query.replace("'", "'\\''")
    return node.succeed(as_postgres(f"psql -p {port} -XAtqc '{quoted}' postgres")).strip()


def wait_for_query(node, query, expected="t", timeout=30):
    quoted = query.replace("'", "'\\''")
    asked = as_postgres(f"psql -XAtqc '{quoted}' postgres")
    node.wait_until_succeeds(f"test \"$({asked})\" = '{expected}'", timeout=timeout)


def store_tables(prefix="main"):
    tables = ""
    for name, port in (("one", 7070), ("two", 7071)):
        tables += f"""
[[store]]
name = "{name}"
type = "s3"
endpoint = "https://s3:{port}"
bucket = "wal"
prefix = "{prefix}"
ca_file = "/etc/store/ca.pem"
access_key_id_file = "/etc/walkeep/store.id"
secret_access_key_file = "/etc/walkeep/store.secret"
"""
    return tables


def write_config(node, name="walkeep", cluster="main", data=PGDATA, staging=STAGING, port=5432, more=""):
    """The configuration as an administrator writes it: root's, readable by
    PostgreSQL's group."""
    waits = f'[staging]\npath = "{staging}"\nmax_size = "2GiB"\n' if staging else ""
    text = f"""
[cluster]
name = "{cluster}"
data_directory = "{data}"
connection = "host=/run/postgresql port={port} dbname=postgres"

{waits}
[[alerts.sink]]
type = "command"
command = ["/usr/local/bin/told"]
{more}
{store_tables(cluster)}
"""
    node.succeed(
        "install -d -o root -g postgres -m 750 /etc/walkeep",
        f"cat > /etc/walkeep/{name}.toml <<'END'\n{text}\nEND",
        "echo tester > /etc/walkeep/store.id; echo not-a-secret > /etc/walkeep/store.secret",
        "chown root:postgres /etc/walkeep/*; chmod 640 /etc/walkeep/*",
    )


def install_package(node):
    node.succeed("DEBIAN_FRONTEND=noninteractive dpkg -i /srv/walkeep.deb 2>&1", timeout=60)


def wait_for_postgres(node, timeout=60, port=5432):
    node.wait_until_succeeds(as_postgres(f"psql -p {port} -XAtqc 'select 1' postgres"), timeout=timeout)


def role_for_daemon(node, port=5432):
    psql(node, "create role walkeep login", port)
    psql(node, "grant pg_monitor to walkeep", port)


def configure(node, **config):
    """From the package to a cluster that archives, with the daemon running."""
    write_config(node, **config)
    wait_for_postgres(node)
    role_for_daemon(node)
    node.succeed("walkeep init --apply 2>&1")
    node.succeed(f"systemctl restart {PG_UNIT}")
    wait_for_postgres(node)
    node.succeed("systemctl restart walkeep.service")
    node.wait_for_unit("walkeep.service", timeout=30)


def set_up(node, **config):
    install_package(node)
    configure(node, **config)


def switch_wal(node, port=5432):
    """Ends the segment, in which there is something; its name."""
    psql(node, "select pg_logical_emit_message(true, 'test', '')", port)
    return psql(node, "select pg_walfile_name(pg_switch_wal())", port)


def fill(node, table="t", rows=1000):
    psql(node, f"create table if not exists {table} (i int)")
    psql(node, f"insert into {table} select generate_series(1, {rows})")


def is_stored(name, port, prefix="main"):
    """As a file of the S3 server's, where its bucket is a directory."""
    return f"test -e /srv/store/{port}/wal/{prefix}/wal/{name}.gz"


def wait_stored(s3, name, prefix="main", ports=(7070, 7071), timeout=30):
    for port in ports:
        s3.wait_until_succeeds(is_stored(name, port, prefix), timeout=timeout)


def wait_until_none_waits(node, directory, timeout):
    """No segment is staged there. `! ls | grep` would say so of no directory as well."""
    segment = "^[0-9A-F]{24}$"
    node.wait_until_succeeds(f"staged=$(ls {directory}); ! grep -E '{segment}' <<<\"$staged\"", timeout=timeout)


def wait_for_stores(s3, timeout=60):
    for port in (7070, 7071):
        s3.wait_for_open_port(port, addr="s3", timeout=timeout)


def back_up(node):
    """As the weekly timer does it."""
    node.succeed("systemctl start walkeep-full-backup.service", timeout=120)
