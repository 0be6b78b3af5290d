#!/usr/bin/env bash
# Sends one mail and follows it until every recipient is finished: send.sh ann@example.org
# Needs curl; POSTROOM_URL and POSTROOM_KEY say where and with which key.
set -euo pipefail

curl_postroom() {
    curl --silent --show-error --fail-with-body --header "Authorization: Bearer $POSTROOM_KEY" "$@"
}

# The name of this request: sent again with the same name, it is still carried out once.
name="example-$(date +%s)-$$"
body=$(printf '{"to": "%s", "subject": "Your order", "text": "It has left the house.\\n"}' "$1")
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

curl_postroom --retry 5 --retry-connrefused --dump-header "$headers" --output /dev/null \
    --header 'Content-Type: application/json' --header "Idempotency-Key: $name" \
    --data "$body" "$POSTROOM_URL/v1/notifications"
status_url=$(sed -n 's/^location: *\([^[:space:]]*\).*/\1/Ip' "$headers")

while true; do
    # The first status in the answer is that of the whole message.
    status=$(curl_postroom "$status_url" | grep -o '"status": *"[a-z]*"' | head -n 1 | cut -d '"' -f 4)
    case $status in
    scheduled | queued | sending | deferred) sleep 1 ;;
    *) break ;;
    esac
done
echo "$status"
[ "$status" = sent ]
