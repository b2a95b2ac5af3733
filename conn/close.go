package conn

// Close ends the connection in order: it refuses sends, writes what was accepted, lets the layers say goodbye, sends
// FIN and reads until the peer's end. What arrives meanwhile is delivered; but once it meets a pause, the rest is
// dropped. Config.CloseTimeout bounds it, then the connection is aborted. A second Close does nothing. Before
// OnConnected, Close and Abort lead to OnConnectFailed.
func (c *Conn) Close() {
	switch c.state {
	case StateConnecting, StateStarting:
		c.failStart(StageClosed, nil, false)
	case StateConnected, StateUpgrading:
		c.startClosing()
		c.endWriting()
	}
}

// CloseWrite is the first half of Close: it ends with FIN, and reading goes on. Before OnConnected it does nothing.
func (c *Conn) CloseWrite() {
	if c.state == StateConnected || c.state == StateUpgrading {
		c.endWriting()
	}
}

// Abort drops what is queued and resets the connection, in any state. OnClosed reports err, which may be nil, with
// [CauseAbort].
func (c *Conn) Abort(err error) { c.fail(CauseAbort, err) }

// startClosing enters StateClosing. From here on CloseTimeout runs, and idleness means nothing.
func (c *Conn) startClosing() {
	c.setState(StateClosing)
	c.limit = c.after(c.cfg.closeTimeout())
	c.idleAt = 0
}

// endWriting ends our direction: the layers say goodbye behind what is queued, then comes FIN.
func (c *Conn) endWriting() {
	if c.flags.has(flagWriteEnded) {
		return
	}
	c.flags.set(flagWriteEnded)
	c.layersCloseWrite()
}

// progress puts CloseTimeout off: it is the time without write progress, until FIN.
func (c *Conn) progress() {
	if c.state == StateClosing && !c.flags.has(flagFIN) {
		c.limit = c.after(c.cfg.closeTimeout())
	}
}

// step does what the state wants next. It is asked at the end of each turn, after the write: FIN follows the last
// byte, and the end follows FIN and the peer's end.
func (c *Conn) step() {
	if c.state == StateConnecting || c.state == StateStarting || c.state == StateClosed {
		return
	}
	if c.flags.has(flagWriteEnded) && !c.flags.has(flagFIN|flagGoodbye) && c.queue.pending == 0 {
		c.flags.set(flagFIN)
		if err := c.b.CloseWrite(); err != nil {
			c.fail(CauseWrite, err)
			return
		}
		if c.state == StateClosing {
			c.limit = c.after(c.cfg.closeTimeout())
		}
	}
	if c.flags.has(flagFIN) && c.flags.has(flagPeerEnded) && c.flags.has(flagEOFTold) && !c.mayCut() {
		c.finish()
	}
}

// finish ends the connection: both directions have ended.
func (c *Conn) finish() {
	if c.state != StateClosing {
		c.setState(StateClosing)
	}
	c.setState(StateClosed)
	_ = c.b.Close(false) // nothing is left to lose
	c.limit = 0
	switch {
	case !c.flags.has(flagConnected):
		c.notifyEnd(noticeConnectFailed, c.connectError(StageHandshake, c.reasonErr()))
	case c.rarely().reason != nil:
		c.notifyEnd(noticeClosed, c.rarely().reason)
	default:
		c.notifyEnd(noticeClosed, nil)
	}
}

// giveUp ends, with the turn, a connection of which a layer failed without last words.
func (c *Conn) giveUp() {
	if c.flags.has(flagBroken) {
		c.flags.clear(flagBroken)
		c.fail(CauseLayer, c.rarely().reason.Err)
	}
}

// fail ends the connection out of order, at once.
func (c *Conn) fail(cause Cause, err error) {
	if c.state == StateClosed {
		return
	}
	if !c.flags.has(flagConnected) {
		c.failStart(c.stageOf(cause), err, cause != CauseRead)
		return
	}
	if c.rarely().reason == nil || c.rarely().reason.Cause == CauseTruncated { // else the first cause stays
		c.needRare().reason = &CloseError{cause, err}
	}
	c.tearDown(true)
	c.notifyEnd(noticeClosed, c.rarely().reason)
}

// stageOf says which part of connecting a cause ended.
func (c *Conn) stageOf(cause Cause) Stage {
	switch cause {
	case CauseAbort, CauseHandler:
		return StageClosed
	case CauseTimeout:
		return StageTimeout
	}
	return StageHandshake
}

// failStart ends a connection that never became ready.
func (c *Conn) failStart(stage Stage, err error, reset bool) {
	if c.state == StateClosed {
		return
	}
	if c.rarely().reason != nil && c.rarely().reason.Cause == CauseLayer { // only its last words were left
		stage, err = StageHandshake, c.reasonErr()
	}
	c.tearDown(reset)
	c.notifyEnd(noticeConnectFailed, c.connectError(stage, err))
}

func (c *Conn) reasonErr() error {
	if c.rarely().reason == nil {
		return nil
	}
	return c.rarely().reason.Err
}

func (c *Conn) connectError(stage Stage, err error) *ConnectError {
	info := c.b.Info()
	addr := info.Addr
	if addr == "" {
		addr = info.Host
	}
	if addr == "" && info.Remote.IsValid() {
		addr = info.Remote.String()
	}
	return &ConnectError{Stage: stage, Addr: addr, Err: err}
}

// tearDown gives up the socket and what is queued. Sends that are not settled by now have failed: the offsets were
// compared after each write.
func (c *Conn) tearDown(reset bool) {
	c.setState(StateClosed)
	c.flags.set(flagAborted)
	c.flags.clear(flagBroken | flagGoodbye)
	c.limit = 0
	c.queue.clear(c.m)
	c.ledger.clear(c.m)
	c.ledger.own = 0
	_ = c.b.Close(reset) // the cause is known already
	c.notifyOutcomes(noticeSendFailed, c.ledger.settled+1, c.accepted)
	c.ledger.settled = c.accepted
}
