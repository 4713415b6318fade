// Unpacks npm's Chromium into TMPDIR; AWS_EXECUTION_ENV makes it unpack the libraries that some machines lack.
import chromium from "@sparticuz/chromium";

console.log(await chromium.executablePath());
