package table

import (
	"fmt"
	"io"

	"github.com/galago-go/galago/bench/internal/result"
)

// A scale is how a number is shown.
type scale struct {
	by     float64
	digits int
	unit   string // with a space before it
}

func (s scale) number(x float64) string { return fmt.Sprintf("%.*f", s.digits, x/s.by) }

// scaleOf returns what suits x.
func scaleOf(u result.Unit, x float64) scale {
	switch u {
	case result.Nanoseconds:
		switch {
		case x < 10e6:
			return scale{1e3, 2, " µs"}
		case x < 10e9:
			return scale{1e6, 1, " ms"}
		}
		return scale{1e9, 1, " s"}
	case result.Bytes:
		switch {
		case x < 10<<10:
			return scale{1, 0, " B"}
		case x < 1<<20:
			return scale{1 << 10, 1, " KiB"}
		}
		return scale{1 << 20, 1, " MiB"}
	case result.BytesPerSec:
		if x < 10<<20 {
			return scale{1 << 20, 1, " MiB/s"}
		}
		return scale{1 << 20, 0, " MiB/s"}
	case result.Share:
		return scale{0.01, 0, " %"}
	case result.PerSecond, result.Whole:
		return scale{1, 0, ""}
	case result.Count:
		return scale{1, 2, ""}
	case result.Times:
		return scale{1, 3, ""}
	}
	panic("BUG: unit " + string(u))
}

// Show prints a number with its unit.
func Show(u result.Unit, x float64) string {
	s := scaleOf(u, x)
	if x == 0 {
		return "0" + s.unit
	}
	return s.number(x) + s.unit
}

// ShowSpread prints a median with its unit, and the range in the same.
func ShowSpread(u result.Unit, x result.Spread) string {
	s := scaleOf(u, x.Median)
	return fmt.Sprintf("%s%s (%s-%s)", s.number(x.Median), s.unit, s.number(x.Low), s.number(x.High))
}

// verdicts prints which promises were kept, in the order in which they were made.
func verdicts(w io.Writer, r *result.Run) error {
	if len(r.Verdicts) == 0 {
		return nil
	}
	var promises, servers, kept, says []string
	for _, v := range r.Verdicts {
		word := "kept"
		if !v.Kept {
			word = "BROKEN"
		}
		promises, servers, kept, says = append(promises, v.Promise), append(servers, v.Server), append(kept, word), append(says, v.Says)
	}
	fmt.Fprintln(w)
	width, name := max(widest(promises), widest(kept)), widest(servers)
	for i := range promises {
		if _, err := fmt.Fprintf(w, "%-*s  %-*s  %-6s  %s\n", width, promises[i], name, servers[i], kept[i], says[i]); err != nil {
			return err
		}
	}
	return nil
}
