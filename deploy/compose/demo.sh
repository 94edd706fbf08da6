#!/bin/sh
# What there is to try: a tenant with credit, a key, the simulator as upstream account, prices, and an operator of the
# console. Every step may be repeated; what was changed since stays, but for the simulator's account.
set -eu
keep=/var/lib/tollhouse
umask 077
tollhouse tenant add demo --name Demo
tollhouse topup demo 10 --reason "credit to try Tollhouse with" --idempotency-key demo-first-credit
tollhouse price list | grep -q claude-sonnet-4-6 || tollhouse price apply --file /deploy/prices.yaml
echo simulator | tollhouse account add --kind simulator --base-url http://simulator:7010 --priority 100 \
    --models claude-opus-4-6 claude-sonnet-4-6 claude-haiku-4-5 gpt-5.2
if [ ! -s "$keep/key" ]; then
    tollhouse key add demo --name demo >"$keep/key.new"
    mv "$keep/key.new" "$keep/key"
fi
if [ ! -s "$keep/operator" ]; then
    tollhouse person add operator@localhost --operator --tenant demo >"$keep/operator.new"
    mv "$keep/operator.new" "$keep/operator"
fi
cat <<END

Try it:

  curl -N http://localhost:8080/v1/messages -H "x-api-key: $(cat "$keep/key")" -H "content-type: application/json" \\
    -d '{"model": "claude-sonnet-4-6", "max_tokens": 100, "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

The console is at http://localhost:8090: operator@localhost, password $(tail -n 1 "$keep/operator")
END
