package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// svg draws the chart for the page: its colours are those of the page, so that they suit light and dark, and it has a
// name and a description for those who do not see it.
func (ch *chart) svg() (template.HTML, error) {
	c := vgsvg.New(chartWidth, ch.height)
	ch.draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", err
	}
	s := out.String()
	begin := strings.Index(s, "<g ")
	if begin < 0 {
		return "", fmt.Errorf("%s: what was drawn is no SVG", ch.id)
	}
	s = s[begin:]
	for _, c := range colours {
		s = regexp.MustCompile("(?i)"+c.light).ReplaceAllString(s, "var(--"+c.name+")")
	}
	s = fontOf.ReplaceAllStringFunc(s, func(font string) string {
		if strings.Contains(font, "font-weight:bold") {
			return "font-weight:bold;"
		}
		return ""
	})
	s = blanks.ReplaceAllString(s, " ")
	head := fmt.Sprintf(`<svg id="%s" viewBox="0 0 %d %.0f" role="img" aria-labelledby="%[1]s-t %[1]s-d"><title id="%[1]s-t">%[4]s</title><desc id="%[1]s-d">%[5]s</desc>`,
		ch.id, chartWidth, ch.height.Points(), html.EscapeString(ch.title), html.EscapeString(ch.says))
	return template.HTML(head + s), nil
}

var (
	fontOf = regexp.MustCompile(`font-family:[^"]*?font-style:[a-z]+;\s*`)
	blanks = regexp.MustCompile(`\s+`)
)

// pngDPI is the resolution of PNG files: two and a half pixels for a point of CSS.
const pngDPI = 240

// png writes the chart to a file of a directory, whose name it returns.
func (ch *chart) png(dir string) (name string, err error) {
	c := vgimg.NewWith(vgimg.UseWH(chartWidth*vg.Points(0.75), ch.height*vg.Points(0.75)), vgimg.UseDPI(pngDPI))
	c.Scale(0.75, 0.75) // a pixel of CSS is three quarters of a point
	ch.draw(draw.NewCanvas(c, chartWidth, ch.height))
	name = filepath.Join(dir, ch.id+".png")
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColours(c.Image())); err != nil {
		return "", err
	}
	return name, os.WriteFile(name, out.Bytes(), 0o666)
}

// fewColours returns img with 256 colours at most, which makes its file a third as large. A chart has few but for the
// rims of its letters and lines: these are rounded as little as it takes.
func fewColours(img image.Image) *image.Paletted {
	for drop := uint(0); ; drop++ { // bits of each channel
		small, index := image.NewPaletted(img.Bounds(), nil), map[color.RGBA]uint8{}
		if fill(small, img, drop, index) {
			return small
		}
	}
}

// fill copies img, rounded, and returns false if that takes too many colours.
func fill(small *image.Paletted, img image.Image, drop uint, index map[color.RGBA]uint8) bool {
	round := func(v uint32) uint8 { // black and white stay what they are
		most := uint32(0xff >> drop)
		return uint8((v >> 8 >> drop) * 0xff / most)
	}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			c := color.RGBA{round(r), round(g), round(b), 0xff}
			i, known := index[c]
			if !known {
				if len(index) == 256 {
					return false
				}
				i = uint8(len(index))
				index[c] = i
				small.Palette = append(small.Palette, c)
			}
			small.SetColorIndex(x, y, i)
		}
	}
	return true
}
