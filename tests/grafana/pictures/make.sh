#!/bin/bash
# Draws grafana/pictures anew: a fleet of three hosts in network namespaces is scanned for three minutes, a real Prometheus answers every
# query of the dashboards, Grafana's own components draw the panels, and Chromium takes the picture. Nothing in CI runs it: look at what it made.
# Needs root, what `make test` installs, node with npm, chromium, and 700 MB in DIRECTORY for what npm brings.
#
# usage: make.sh EXPORTER DIRECTORY
set -euo pipefail
exporter=$(realpath "$1") work=$(realpath -m "$2")
pictures=$(cd "$(dirname "$0")" && pwd) here=$(cd "$(dirname "$0")/../../.." && pwd)
lab=pictures
mkdir -p "$work"
cd "$work"
chmod 755 .
[ -d node_modules/@grafana/ui ] ||
  npm install --no-fund --no-audit --ignore-scripts esbuild@0.24 react@18 react-dom@18 @grafana/ui@11.6.16 @grafana/data@11.6.16 >npm.log 2>&1

started=()
end() {
  kill "${started[@]}" 2>/dev/null || :
  wait
  "$here/tests/lab/netlab.sh" down $lab
}
trap end EXIT
"$here/tests/lab/netlab.sh" up $lab
on() { ip netns exec "$lab-$1" "${@:2}"; }
run() { ip netns exec "$lab-$1" "${@:2}" & started+=($!); }
echo 6b1f0c6f2d3e4a59b8c7d6e5f4a3b2c1 >fleet.key
chmod 644 fleet.key
for host in t srv s2; do
  run $host "$exporter" -i eth0 --log.format=logfmt --fleet.key-file="$work/fleet.key" --fleet.share=1/2 2>"$host.log"
done
cat >prometheus.yml <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$here/alerts/portscan.rules.yml]
scrape_configs:
  - job_name: portscan
    static_configs: [{targets: ['192.0.2.10:10220', '192.0.2.20:10220', '198.51.100.8:10220']}]
YAML
rm -rf data
run t prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=127.0.0.1:9090 --log.level=warn 2>prometheus.log
for _ in $(seq 100); do on t curl -sf 127.0.0.1:9090/-/ready >/dev/null && break; sleep .1; done

for last in 21 22 23 24 27 28 29; do on s1 ip addr add 198.51.100.$last/24 dev eth0; done
all="192.0.2.10 192.0.2.20 198.51.100.8"
scan() { on s1 nmap -n -Pn -T4 -sS -e eth0 -S "198.51.100.$1" "${@:2}" >/dev/null; }
for round in 1 2 3 4 5 6 7; do
  # Ordinary clients, of few ports.
  for last in 21 22 23 24; do scan $last -p$((80 + round)),443 192.0.2.10; done
  case $round in
    2) scan 27 -p1-30 192.0.2.10 ;;
    3) scan 28 -p1-8 $all ;;
    4) scan 7 -p1-1000 192.0.2.10 192.0.2.20 ;;
    5) scan 29 -p22 $all; on s1 nmap -6 -n -Pn -T4 -sS -p1-300 2001:db8:2::10 >/dev/null ;;
    6) scan 27 -p1-60 192.0.2.20 ;;
  esac
  sleep 22
done

cp "$pictures/draw.jsx" "$pictures/ask.mjs" .
node node_modules/esbuild/bin/esbuild draw.jsx --bundle --format=iife --outfile=bundle.js --define:process.env.NODE_ENV='"production"' \
  --define:global=window --loader:.svg=dataurl --loader:.woff2=dataurl --loader:.woff=dataurl --loader:.png=dataurl --loader:.ttf=dataurl \
  --minify --jsx=transform --log-level=error
# The height of a picture: that of its dashboard, in Grafana's 38 pixels a step.
for dashboard in portscan fleet; do
  on t node ask.mjs "$here/grafana/$dashboard.json" http://127.0.0.1:9090 answers.json
  height=$(jq '[.dash.panels[].gridPos | .y + .h] | max * 38 + 60' answers.json)
  {
    echo '<!doctype html><meta charset="utf-8"><style>body{margin:0;background:#111217;color:#ccccdc;font-family:Inter,Helvetica,Arial,sans-serif}'
    echo '.markdown code{white-space:pre-wrap;overflow-wrap:anywhere}'
    cat bundle.css
    echo '</style><div id="root"></div><script>window.DATA='
    sed 's,</script,<\\/script,g' answers.json
    echo '</script><script>'
    sed 's,</script,<\\/script,g' bundle.js
    echo '</script>'
  } >page.html
  # In a network that leads nowhere.
  on sw timeout 60 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --user-data-dir="$work/profile" --hide-scrollbars \
    --window-size="1800,$height" --virtual-time-budget=9000 --screenshot="$work/$dashboard.png" "file://$work/page.html" 2>chromium.log
  cp "$dashboard.png" "$here/grafana/pictures/"
done
