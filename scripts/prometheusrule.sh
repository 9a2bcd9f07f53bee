#!/usr/bin/env bash
# Prints the PrometheusRule of the Prometheus operator, made from the plain rules file: kustomize can put
# a file into a ConfigMap but not into a spec. tests/manifests checks that the committed one is this.
#
#   prometheusrule.sh > kustomize/components/monitoring/prometheusrule.yaml
set -euo pipefail
cd "$(dirname "$0")/.."

cat <<'HEAD'
# Made by scripts/prometheusrule.sh from rules.yaml: change that and make this again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: order-service
  labels:
    app.kubernetes.io/name: order-service
    app.kubernetes.io/part-of: order-service
spec:
HEAD
# The comments stay in rules.yaml; everything else moves below `spec:`.
sed -E '/^ *#/d; s/^/  /' kustomize/components/monitoring/rules.yaml
