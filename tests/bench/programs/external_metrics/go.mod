module bench-external-metrics

go 1.24.0
