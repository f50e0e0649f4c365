package status

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/northflank/prefect-northflank/internal/worker"
)

// collector reads all metrics off the worker when Prometheus asks.
type collector struct {
	source  Source
	stats   *worker.Stats
	version string
	metrics []Metric
	descs   []*prometheus.Desc // of metrics
}

func newCollector(s Source, stats *worker.Stats, version string) *collector {
	c := &collector{source: s, stats: stats, version: version, metrics: Metrics()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.FullName(), m.Help, m.Labels, nil))
	}
	return c
}

func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		descs <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	l := look{c.source.Status(), c.version}
	for i, m := range c.metrics {
		desc := c.descs[i]
		emit := func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, m.Kind.valueType(), value, labels...)
		}
		switch m.Kind {
		case Gauge:
			m.read(l, emit)
		case Count:
			for labels, n := range m.counter(c.stats).Counts() {
				emit(float64(n), labels[:len(m.Labels)]...)
			}
		case Histogram:
			n, sum, atMost := m.histogram(c.stats).Read()
			out <- prometheus.MustNewConstHistogram(desc, n, sum, atMost)
		}
	}
}

// ServeMetrics serves our metrics, and those of Go and of the process.
func ServeMetrics(s Source, stats *worker.Stats, version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(s, stats, version),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
