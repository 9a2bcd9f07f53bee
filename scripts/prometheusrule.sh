#!/usr/bin/env bash
# Prints the PrometheusRule of the Prometheus operator, made from the plain rules file: kustomize can put
# a file into a ConfigMap but not into a spec. tests/manifests checks that the committed ones are these.
#
#   prometheusrule.sh > kustomize/components/monitoring/prometheusrule.yaml
#   prometheusrule.sh operator > kustomize/operator/components/monitoring/prometheusrule.yaml
set -euo pipefail
cd "$(dirname "$0")/.."

name=order-service
directory=kustomize/components/monitoring
command=scripts/prometheusrule.sh
namespace=""
if [ "${1:-}" = operator ]; then
    name=order-operator
    directory=kustomize/operator/components/monitoring
    command+=" operator"
    # The operator's namespace is fixed; the service's is set by an overlay.
    namespace=$'\n  namespace: order-operator-system'
fi

cat <<HEAD
# Made by $command from rules.yaml: change that and make this again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: $name$namespace
  labels:
    app.kubernetes.io/name: $name
    app.kubernetes.io/part-of: $name
spec:
HEAD
# The comments stay in rules.yaml; everything else moves below `spec:`.
sed -E '/^ *#/d; s/^/  /' "$directory/rules.yaml"
