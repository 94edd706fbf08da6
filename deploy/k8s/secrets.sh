#!/bin/sh
# Prints the Secrets of a deployment, from a folder of deploy/secrets.sh; needs kubectl, but no cluster:
#   sh deploy/secrets.sh deploy/k8s/secrets postgres-rw:5432 nats:4222
#   sh deploy/k8s/secrets.sh deploy/k8s/secrets | kubectl apply --namespace tollhouse --filename -
# What is in the folder is what the cluster has after that: change a secret there, too.
# Whoever keeps secrets in a vault gives its operator these names and keys instead.
set -eu
folder=${1:?usage: $0 FOLDER}
cd "$folder"

secret() {  # NAME KEY=FILE...
    name=$1
    shift
    for pair in "$@"; do
        set -- "$@" "--from-file=$pair"
        shift
    done
    echo "---"
    kubectl create secret generic "$name" "$@" --dry-run=client --output=yaml
}

secret tollhouse-auth database-url=auth_database_url nats-url=nats_url key-pepper=key_pepper ledger-token=ledger_token
secret tollhouse-router database-url=router_database_url nats-url=nats_url master-key=router_master_key
secret tollhouse-ledger database-url=ledger_database_url nats-url=nats_url internal-token=ledger_token \
    receipt-key=receipt_key
secret tollhouse-edge nats-url=nats_url key-pepper=key_pepper ledger-token=ledger_token
secret tollhouse-console database-url=console_database_url master-key=console_master_key ledger-token=ledger_token
secret tollhouse-operator database-url=console_database_url ledger-token=ledger_token \
    doctor-database-url=doctor_database_url nats-url=nats_url
secret tollhouse-migrate database-url=migrate_database_url auth-password=postgres_auth router-password=postgres_router \
    ledger-password=postgres_ledger console-password=postgres_console doctor-password=postgres_doctor
secret tollhouse-nats authorization.conf=nats_authorization.conf cluster.conf=nats_cluster.conf
# The owner of the database; CloudNativePG wants this type.
echo "---"
kubectl create secret generic tollhouse-postgres --type=kubernetes.io/basic-auth --from-literal=username=tollhouse \
    --from-file=password=postgres_owner --dry-run=client --output=yaml
