package report

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/result"
)

// requireBrowser is the variable with which the gate says that there must be a browser.
const requireBrowser = "GALAGO_REQUIRE_BROWSER"

// browserPatience is how long the browser may take for all of a test.
const browserPatience = 2 * time.Minute

//go:embed testdata/inspect.js
var inspect string

// A browser shows one page, and notes what it asks for and complains of.
type browser struct {
	ctx context.Context

	mu         sync.Mutex
	requests   []string
	complaints []string
}

// open shows a report in headless Chromium.
func open(t *testing.T, f *result.File) (b *browser, url string) {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil && program == "" {
			program = found
		}
	}
	if program == "" {
		if os.Getenv(requireBrowser) != "" {
			t.Fatalf("%s is set, and there is no Chromium: apt-get install chromium", requireBrowser)
		}
		t.Skip("there is no Chromium here: apt-get install chromium")
	}
	path := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, Save(f, path))

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(context.Background(), browserPatience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { assert.NoError(t, chromedp.Cancel(ctx)) }) // it waits for the browser, which writes to its directory
	b = &browser{ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	url = "file://" + path
	b.do(t, command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}),
		chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url))
	return b, url
}

func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console: %v", e.Args))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, e.Entry.Text)
	}
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(b.ctx, actions...))
}

// command is a command of the protocol, as an action.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

// ask evaluates an expression of JavaScript.
func ask[T any](t *testing.T, b *browser, js string) (answer T) {
	t.Helper()
	answer, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js))
	require.NoError(t, err, js)
	return answer
}

// set makes the window so wide, with a theme or medium.
func (b *browser) set(t *testing.T, width int64, scheme, medium string) {
	t.Helper()
	b.do(t, chromedp.EmulateViewport(width, 900), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: medium,
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// What inspect.js has to say about a chart, and a table.
type (
	seenChart struct {
		ID, Title, Desc string
		Width, Height   float64
		Paths           int
		Overlaps        []string // texts that touch each other
		Outside         []string // texts that are not within the chart
	}
	seenTable struct {
		Label string
		Rows  [][]string
	}
)

func TestThePageInABrowser(t *testing.T) {
	f := exampleFile()
	b, url := open(t, f)
	b.do(t, chromedp.Evaluate[chromedp.Void](inspect))

	t.Run("it asks for nothing", func(t *testing.T) {
		b.mu.Lock()
		defer b.mu.Unlock()
		assert.Equal(t, []string{url}, b.requests)
		assert.Empty(t, b.complaints)
	})
	for _, width := range []int64{360, 800, 1400} {
		b.set(t, width, "light", "")
		t.Run(fmt.Sprintf("charts, %d pixels wide", width), func(t *testing.T) { wantCharts(t, f, ask[[]seenChart](t, b, "charts()")) })
		assert.LessOrEqual(t, ask[int64](t, b, "document.documentElement.scrollWidth"), width, "nothing sticks out at %d pixels", width)
	}
	t.Run("tables", func(t *testing.T) { wantTables(t, f, ask[[]seenTable](t, b, "tables()")) })
	for _, scheme := range []string{"light", "dark"} {
		b.set(t, 1280, scheme, "")
		assert.Equal(t, scheme == "dark", ask[bool](t, b, "lightness(getComputedStyle(document.body).backgroundColor) < 0.2"), scheme)
		assert.Empty(t, ask[[]string](t, b, "faint()"), "what is hard to read in the %s", scheme)
	}
	assert.Empty(t, ask[[]string](t, b, "brokenLinks()"))
	b.set(t, 800, "dark", "print")
	assert.Less(t, ask[float64](t, b, "lightness(getComputedStyle(document.querySelector('h1')).color)"), 0.2, "paper is white, also for who prefers the dark")
	assert.Equal(t, "none", ask[string](t, b, "getComputedStyle(document.querySelector('nav')).display"))
	pdf, err := chromedp.Run(b.ctx, chromedp.PrintToPDF())
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(pdf, []byte("%PDF")))
}

// wantCharts checks that every chart of the report is there, has a name, and can be read.
func wantCharts(t *testing.T, f *result.File, seen []seenChart) {
	var want []*chart
	for _, r := range f.Runs {
		want = append(want, chartsOf(r)...)
	}
	require.Len(t, seen, len(want))
	require.NotEmpty(t, want)
	for i, got := range seen {
		ch := want[i]
		assert.Equal(t, ch.id, got.ID)
		assert.Equal(t, ch.title, got.Title)
		assert.NotEmpty(t, got.Desc)
		assert.Greater(t, got.Width, 300.0, ch.id)
		assert.InDelta(t, ch.height.Points()/chartWidth, got.Height/got.Width, 0.01, ch.id)
		assert.GreaterOrEqual(t, got.Paths, 5+len(ch.lines)+2*len(ch.ranges), "%s is empty", ch.id)
		assert.Empty(t, got.Overlaps, ch.id)
		assert.Empty(t, got.Outside, ch.id)
	}
}

// wantTables checks that every table has what the figures say.
func wantTables(t *testing.T, f *result.File, seen []seenTable) {
	want := []*sheet{verdictSheet(f), ratioSheet(f)}
	for _, r := range f.Runs {
		if s := verdictsOf(r); s != nil {
			want = append(want, s)
		}
		want = append(append(want, figuresOf(r)), ratiosOf(r)...)
	}
	require.Len(t, seen, len(want))
	for i, s := range want {
		assert.Equal(t, s.Caption, seen[i].Label)
		assert.Equal(t, s.text(), seen[i].Rows, s.Caption)
	}
}

// text is what a browser shows of a table.
func (s *sheet) text() (rows [][]string) {
	rows = append(rows, append([]string{s.Corner}, s.Head...))
	for _, r := range s.Rows {
		line := []string{strings.TrimSpace(r.Head + "\n" + r.Under)}
		for _, c := range r.Cells {
			parts := []string{c.Text}
			for _, p := range []string{c.Under, c.Last} {
				if p != "" {
					parts = append(parts, p)
				}
			}
			line = append(line, strings.Join(parts, "\n"))
		}
		rows = append(rows, line)
	}
	return rows
}

// The tests above must be able to fail: a page that asks for something, or complains, is noticed.
func TestTheBrowserNoticesWhatAPageDoes(t *testing.T) {
	b, url := open(t, exampleFile())
	path := strings.TrimPrefix(url, "file://")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	bad := strings.Replace(string(text), "</body>", `<img src="http://127.0.0.1:1/x.png"><script>console.log("x")</script></body>`, 1)
	require.NoError(t, os.WriteFile(path, []byte(bad), 0o666))
	b.do(t, chromedp.Navigate(url))
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.NotEmpty(t, b.complaints, "the policy of the page forbids both")
}
