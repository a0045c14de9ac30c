"""An HL7 receiver over MLLP, of the hl7 package: hl7_peer.py [ADDRESS:]PORT CODE [CERT KEY].

CODE is what stands in MSA-1 (AA, CA, AE, AR …), or other: acknowledges another message. With CERT and KEY it speaks TLS.
"""

import asyncio
import ssl
import sys

from hl7.mllp import start_hl7_server

address, _, port = sys.argv[1].rpartition(":")
code = sys.argv[2]


async def serve(reader, writer):
    try:
        while not writer.is_closing():
            message = await reader.readmessage()
            if code == "other":
                message.segment("MSH")[10] = "another"
            ack = message.create_ack(ack_code="AA" if code == "other" else code)
            if code not in ("AA", "CA", "other"):
                ack.segment("MSA").append("queue is full")
            writer.writemessage(ack)
            await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def main():
    context = None
    if len(sys.argv) > 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    server = await start_hl7_server(serve, host=address or "127.0.0.1", port=int(port), ssl=context, encoding="utf-8")
    async with server:
        await server.serve_forever()


asyncio.run(main())
