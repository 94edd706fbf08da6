#!/bin/sh
# Makes the secrets of a deployment, a file each, in a folder; a file that exists is kept, so running it again is safe.
# Only what the whole deployment shares is random here: delete nothing of it, and keep a copy apart from the database.
set -eu
umask 077
if [ $# -lt 3 ]; then
    echo "usage: $0 FOLDER POSTGRES_HOST:PORT NATS_HOST:PORT[,...] [SSLMODE]" >&2
    echo "  $0 deploy/compose/secrets postgres:5432 nats:4222" >&2
    exit 2
fi
folder=$1 postgres=$2 nats=$3 database=tollhouse${4:+?sslmode=$4}
mkdir -p "$folder"
cd "$folder"

# Containers read the files as a user of their own. They come in by a mount, past the folder, which nobody else passes.
keep() {  # NAME: standard input into a file, unless it is there
    if [ ! -s "$1" ]; then
        cat >"$1.new"
        chmod 0444 "$1.new"
        mv -f "$1.new" "$1"
    else
        cat >/dev/null
    fi
}
letters() {  # COUNT: so many letters and digits, which no URL and no configuration file has to quote
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"
}
key() {  # 32 random bytes in base64
    head -c 32 /dev/urandom | base64
}

for name in owner auth router ledger console doctor; do
    letters 32 | keep "postgres_$name"
done
for service in auth router ledger console doctor; do
    echo "postgresql://tollhouse_$service:$(cat "postgres_$service")@$postgres/$database" | keep "${service}_database_url"
done
echo "postgresql://tollhouse:$(cat postgres_owner)@$postgres/$database" | keep migrate_database_url

letters 32 | keep nats_password
letters 32 | keep nats_cluster_password
# In NATS' own syntax, for its configuration to include; the second is of its servers among each other, in Kubernetes.
echo "authorization { user: tollhouse, password: \"$(cat nats_password)\" }" | keep nats_authorization.conf
cluster="cluster:$(cat nats_cluster_password)"
keep nats_cluster.conf <<END
authorization { user: cluster, password: "$(cat nats_cluster_password)" }
routes: [
  "nats://$cluster@nats-0.nats-servers:6222"
  "nats://$cluster@nats-1.nats-servers:6222"
  "nats://$cluster@nats-2.nats-servers:6222"
]
END
echo "$nats" | tr ',' '\n' | sed "s|.*|nats://tollhouse:$(cat nats_password)@&|" | paste -s -d, - | keep nats_url

letters 43 | keep key_pepper
key | keep router_master_key
key | keep console_master_key
key | keep receipt_key
{ printf 'thst_'; letters 43; } | keep ledger_token
