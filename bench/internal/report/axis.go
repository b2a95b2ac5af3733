package report

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"

	"github.com/galago-go/galago/bench/internal/result"
)

// A measure is the unit in which an axis is labelled.
type measure struct {
	by   float64
	unit string // for the title; may be empty
}

// measureOf returns what suits values up to most.
func measureOf(u result.Unit, most float64) measure {
	switch u {
	case result.Nanoseconds:
		switch {
		case most < 2e6:
			return measure{1e3, "µs"}
		case most < 2e9:
			return measure{1e6, "ms"}
		}
		return measure{1e9, "s"}
	case result.Bytes:
		switch {
		case most < 2<<10:
			return measure{1, "bytes"}
		case most < 2<<20:
			return measure{1 << 10, "KiB"}
		}
		return measure{1 << 20, "MiB"}
	case result.BytesPerSec:
		if most < 2<<20 {
			return measure{1 << 10, "KiB/s"}
		}
		return measure{1 << 20, "MiB/s"}
	case result.Share:
		return measure{0.01, "%"}
	case result.PerSecond:
		if most >= 1e6 {
			return measure{1e6, "millions per second"}
		}
		return measure{1, "per second"}
	case result.Times:
		return measure{1, "times"}
	}
	return measure{1, ""}
}

// ticks are at most n round numbers from 0 to most, or a little more, with labels.
func ticks(most float64, n int) (all []plot.Tick, end float64) {
	if most <= 0 {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/float64(n))))
	for _, k := range []float64{1, 2, 5, 10} {
		if most/(step*k) <= float64(n) {
			step *= k
			break
		}
	}
	for i := 0; ; i++ {
		v := float64(i) * step
		all = append(all, plot.Tick{Value: v, Label: number(v)})
		if v >= most {
			return all, v
		}
	}
}

// number writes a number of an axis.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if len(s) > 6 {
		s = strconv.FormatFloat(v, 'g', 3, 64)
	}
	return s
}

// logTicks are the powers of base from low to high, labelled by what show says of each.
func logTicks(low, high, base float64, show func(float64) string) (all []plot.Tick) {
	for v := math.Pow(base, math.Floor(math.Log(low)/math.Log(base)+1e-9)); v <= high*1.001; v *= base {
		if v >= low*0.999 {
			all = append(all, plot.Tick{Value: v, Label: show(v)})
		}
	}
	return all
}

// short writes a number of bytes, such as 64 KiB.
func short(n float64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%g MiB", math.Round(n/(1<<20)*100)/100)
	case n >= 1<<10:
		return fmt.Sprintf("%g KiB", math.Round(n/(1<<10)*100)/100)
	}
	return fmt.Sprintf("%g B", n)
}
