#!/bin/sh
# The alerting rules as the Prometheus operator wants them. Run it after a change of alerts/portscan.rules.yml; tests/kubernetes.rs
# holds both equal.
set -eu
cd "$(dirname "$0")"
{
    cat <<'END'
# Made by generate.sh from alerts/portscan.rules.yml: change them there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: portscan-exporter
  labels:
    app.kubernetes.io/name: portscan-exporter
spec:
END
    awk '/^groups:/ {on = 1} on {print ($0 == "" ? "" : "  " $0)}' ../../alerts/portscan.rules.yml
} >prometheusrule.yaml
