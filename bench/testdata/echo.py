"""An echo server for bench: go run -C bench . echo -rival "python=python3 testdata/echo.py" """

import argparse
import asyncio


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("-addr", required=True)
    host, port = args.parse_args().addr.rsplit(":", 1)
    server = await asyncio.get_running_loop().create_server(Echo, host, int(port))
    print("listening on %s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


asyncio.run(main())
