package result

import "slices"

// Summarize fills in what follows from the samples: the summaries, and the ratios of the compared metrics between each
// two servers. A ratio is taken within a round, for only what ran side by side may be compared.
func (r *Run) Summarize() {
	r.Ratios = nil
	for _, s := range r.Servers {
		s.Summary = map[string]Spread{}
		for _, m := range r.Metrics {
			if v := s.values(m.Key); len(v) > 0 {
				s.Summary[m.Key] = SpreadOf(v)
			}
		}
	}
	for _, key := range r.Compared {
		for _, s := range r.Servers {
			for _, base := range r.Servers {
				if v := ratios(s, base, key); s != base && len(v) > 0 {
					r.Ratios = append(r.Ratios, Ratio{key, s.Name, base.Name, SpreadOf(v)})
				}
			}
		}
	}
}

// Ratio returns how server compares with base.
func (r *Run) Ratio(metric, server, base string) (Ratio, bool) {
	for _, x := range r.Ratios {
		if x.Metric == metric && x.Server == server && x.Base == base {
			return x, true
		}
	}
	return Ratio{}, false
}

func (s *Server) values(key string) (v []float64) {
	for _, sample := range s.Samples {
		if x, ok := sample.Values[key]; ok {
			v = append(v, x)
		}
	}
	return v
}

func ratios(s, base *Server, key string) (v []float64) {
	for _, a := range s.Samples {
		for _, b := range base.Samples {
			x, okX := a.Values[key]
			y, okY := b.Values[key]
			if a.Round == b.Round && okX && okY && y != 0 {
				v = append(v, x/y)
			}
		}
	}
	return v
}

// SpreadOf sums v up, which must not be empty.
func SpreadOf(v []float64) Spread {
	return Spread{Median(v), slices.Min(v), slices.Max(v), len(v)}
}

// Median returns the middle of v, which must not be empty.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
