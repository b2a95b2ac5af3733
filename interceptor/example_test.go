package interceptor_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// counter counts what passes, and needs two methods for it.
type counter struct {
	interceptor.Pass
	up, down int
}

func (c *counter) Up(l interceptor.Link, p []byte) error {
	c.up += len(p)
	return l.Up(p)
}

func (c *counter) Down(l interceptor.Link, bufs [][]byte) error {
	for _, b := range bufs {
		c.down += len(b)
	}
	return l.Down(bufs)
}

// printer stands for a connection: it is the Link around a layer or a chain. It has what these examples need.
type printer struct{ interceptor.Link }

func (printer) Up(p []byte) error          { fmt.Printf("handler: %q\n", p); return nil }
func (printer) Down(bufs [][]byte) error   { fmt.Printf("wire: %q\n", bufs); return nil }
func (printer) EOF() error                 { fmt.Println("handler: no more"); return nil }
func (printer) Ready()                     { fmt.Println("ready") }
func (printer) Now() time.Time             { return time.Time{} }
func (printer) Info() (i interceptor.Info) { return i }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A layer is tested with inputs and outputs alone: no socket, no clock.
func Example() {
	var wire printer
	layer := new(counter)
	check(layer.Open(wire))
	check(layer.Up(wire, []byte("hello")))
	check(layer.Down(wire, [][]byte{[]byte("good"), []byte("bye")}))
	fmt.Println(layer.up, "up,", layer.down, "down")
	// Output:
	// ready
	// handler: "hello"
	// wire: ["good" "bye"]
	// 5 up, 7 down
}

func ExampleChain() {
	var wire printer
	c := new(interceptor.Chain)
	check(c.Push(new(counter)))
	check(c.Open(wire))
	check(c.Up(wire, []byte("plain")))
	check(c.Push(new(counter))) // an upgrade
	check(c.Up(wire, []byte("!")))
	for layer := range c.All() {
		fmt.Println(layer.(*counter).up)
	}
	check(c.EOF(wire))
	c.Close()
	fmt.Println(c.Up(wire, []byte("late")))
	// Output:
	// ready
	// handler: "plain"
	// ready
	// handler: "!"
	// 6
	// 1
	// handler: no more
	// interceptor: the chain is closed
}

func ExampleFind() {
	c := new(interceptor.Chain)
	check(c.Push(&counter{up: 1}))
	check(c.Push(&counter{up: 2}))
	check(c.Push(new(interceptor.Pass)))
	layer, ok := interceptor.Find[*counter](c)
	fmt.Println(layer.up, ok)
	_, ok = interceptor.Find[*counter](nil)
	fmt.Println(ok)
	// Output:
	// 2 true
	// false
}

func ExampleTrace() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := new(interceptor.Chain)
	check(c.Push(interceptor.Trace(log)()))
	check(c.Open(printer{}))
	check(c.Up(printer{}, []byte("hello\n")))
	// Output:
	// level=DEBUG msg=open
	// ready
	// level=DEBUG msg=up bytes=6 text="hello\n"
	// handler: "hello\n"
}

func ExampleFault() {
	var wire printer
	c := new(interceptor.Chain)
	check(c.Push(interceptor.Fault(42, interceptor.Faults{Split: 1})()))
	check(c.Open(wire))
	check(c.Up(wire, []byte("in one piece")))

	broken := new(interceptor.Chain)
	check(broken.Push(interceptor.Fault(42, interceptor.Faults{Break: 1})()))
	check(broken.Open(wire))
	err := broken.Up(wire, []byte("never"))
	var fault *interceptor.FaultError
	fmt.Println(errors.As(err, &fault), err)
	// Output:
	// ready
	// handler: "in one pi"
	// handler: "e"
	// handler: "c"
	// handler: "e"
	// ready
	// true interceptor: fault of seed 42: layer 1 broke at byte 0 up
}
