package serve

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"phi3/internal/engine"
)

// metrics are what /metrics shows. Where vLLM has a metric of the same meaning, ours has its name after the
// prefix, its label model_name and its buckets, so that dashboards and autoscalers need only another prefix.
type metrics struct {
	registry *prometheus.Registry

	requests                               *prometheus.CounterVec
	success                                *prometheus.CounterVec
	firstToken, nextToken, queued, latency prometheus.Histogram
	promptTokens, generatedTokens          prometheus.Histogram
}

var (
	firstTokenBuckets = []float64{
		.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
	}
	nextTokenBuckets = []float64{
		.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
	}
	requestBuckets = []float64{
		.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
	}
)

// tokenBuckets are 1, 2, 5, 10, … up to the context.
func tokenBuckets(context int) (buckets []float64) {
	for decade := 1; decade <= context; decade *= 10 {
		for _, n := range []int{1, 2, 5} {
			if n*decade <= context {
				buckets = append(buckets, float64(n*decade))
			}
		}
	}
	return buckets
}

// newMetrics makes a registry of its own, so that programs that use this package have no metric by accident.
func newMetrics(model string, context int, stats func() engine.Stats) *metrics {
	labels := prometheus.Labels{"model_name": model}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + name, Help: help, ConstLabels: labels, Buckets: buckets,
		})
	}
	counters := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + name, Help: help, ConstLabels: labels,
		}, by)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("http_requests_total", "HTTP requests, by route and status.", "route", "code"),
		success: counters("request_success_total",
			"Texts, by the reason for their end: stop, length, or abort for a client or an error.",
			"finished_reason"),
		firstToken: histogram("time_to_first_token_seconds",
			"From the beginning of a request to its first token.", firstTokenBuckets),
		nextToken: histogram("inter_token_latency_seconds", "Between two tokens of a text.",
			nextTokenBuckets),
		latency: histogram("e2e_request_latency_seconds", "From the beginning of a request to its end.",
			requestBuckets),
		queued: histogram("request_queue_time_seconds", "In the queue.", requestBuckets),
		promptTokens: histogram("request_prompt_tokens", "Tokens of a request's prompts.",
			tokenBuckets(context)),
		generatedTokens: histogram("request_generation_tokens", "Tokens generated for a request.",
			tokenBuckets(context)),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.success, m.firstToken, m.nextToken, m.latency, m.queued, m.promptTokens,
		m.generatedTokens, newEngineMetrics(labels, stats))
	return m
}

const prefix = "phi3:"

// observe counts a request that has ended.
func (m *metrics) observe(x *exchange, total time.Duration) {
	route := x.route
	if route == "" {
		route = "unknown" // a path of the client's would be a label of the client's
	}
	m.requests.WithLabelValues(route, strconv.Itoa(x.status)).Inc()
	if x.answer == nil {
		return
	}
	u := x.answer.Stats()
	for _, reason := range u.Finish {
		m.success.WithLabelValues(cmp.Or(reason, "abort")).Inc()
	}
	if u.First > 0 {
		m.queued.Observe(u.Queued.Seconds())
		m.firstToken.Observe((x.parsed + u.First).Seconds())
	}
	for _, step := range u.Steps {
		m.nextToken.Observe(step.Seconds())
	}
	if x.err == nil {
		m.latency.Observe(total.Seconds())
		m.promptTokens.Observe(float64(u.Prompt))
		m.generatedTokens.Observe(float64(u.Generated))
	}
}

// engineMetrics are the numbers of the engine, read at each scrape.
type engineMetrics struct {
	stats func() engine.Stats
	descs []*prometheus.Desc // one for each of engineNumbers
}

var engineNumbers = []struct {
	name, help string
	kind       prometheus.ValueType
	value      func(engine.Stats) float64
}{
	{
		"num_requests_running", "Sequences that run.", prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.Running) },
	},
	{
		"num_requests_waiting", "Sequences in the queue.", prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.Waiting) },
	},
	{
		"num_requests_paused", "Sequences that wait for their clients to take tokens.", prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.Paused) },
	},
	{
		"kv_cache_usage_perc", "The part of the KV cache's blocks that sequences use, 0 to 1.",
		prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.BlocksUsed) / float64(max(1, s.Blocks)) },
	},
	{
		"kv_cache_blocks", "Blocks of the KV cache, 128 tokens each.", prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.Blocks) },
	},
	{
		"kv_cache_blocks_used", "Blocks that sequences use.", prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.BlocksUsed) },
	},
	{
		"kv_cache_blocks_known", "Blocks that no sequence uses, kept for prompts that begin with their text.",
		prometheus.GaugeValue,
		func(s engine.Stats) float64 { return float64(s.BlocksKnown) },
	},
	{
		"engine_steps_total", "Forward passes of the model.", prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.Steps) },
	},
	{
		"prompt_tokens_total", "Tokens of prompts.", prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.PromptTokens) },
	},
	{
		"generation_tokens_total", "Generated tokens.", prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.GeneratedTokens) },
	},
	{
		"prefix_cache_queries_total", "Tokens of prompts that were looked up in the prefix cache.",
		prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.PrefixQueries) },
	},
	{
		"prefix_cache_hits_total", "Tokens of prompts that the prefix cache had.", prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.PrefixHits) },
	},
	{
		"num_preemptions_total", "Sequences that gave their blocks back and were computed again.",
		prometheus.CounterValue,
		func(s engine.Stats) float64 { return float64(s.Preemptions) },
	},
}

func newEngineMetrics(labels prometheus.Labels, stats func() engine.Stats) *engineMetrics {
	e := &engineMetrics{stats: stats}
	for _, n := range engineNumbers {
		e.descs = append(e.descs, prometheus.NewDesc(prefix+n.name, n.help, nil, labels))
	}
	return e
}

// Describe implements [prometheus.Collector].
func (e *engineMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range e.descs {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (e *engineMetrics) Collect(to chan<- prometheus.Metric) {
	stats := e.stats()
	for i, n := range engineNumbers {
		to <- prometheus.MustNewConstMetric(e.descs[i], n.kind, n.value(stats))
	}
}
