// Prints the meta schema of OpenRPC.
import { openrpcDocument } from "@open-rpc/meta-schema";

console.log(JSON.stringify(openrpcDocument));
