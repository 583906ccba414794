#!/usr/bin/env bash
# The JDK's own HTTP client, which asks for HTTP/2 with every request: 300 sequential POSTs, in the clear and over TLS,
# and not one of them lost.
#
#   tests/clients/java.sh [BINARY]      default: target/release/ironrank
#
# On loopback, with a small model. Needs a JDK (11 or later), openssl and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
. tests/support/checks.sh
need "apt-get install default-jdk-headless openssl python3, cargo build --release" javac java openssl python3 "$binary"

tests/support/tiny-model.sh "$work/model"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 \
  -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
javac -d "$work" tests/clients/java/Posts.java

serve http "$binary" serve "$work/model" --served-model-name tiny --max-model-len 512 --threads 1
serve https "$binary" serve "$work/model" --served-model-name tiny --max-model-len 512 --threads 1 \
  --ssl-certfile "$work/certificate.pem" --ssl-keyfile "$work/key.pem"
for name in http https; do
  check "300 of 300 POSTs by the JDK's client are answered over $name" java -cp "$work" Posts "${url[$name]}" 300
done
summary
