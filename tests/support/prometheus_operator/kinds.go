// Package kinds says to `go mod tidy` that the types are used: what reads them is no Go program of ours.
package kinds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
