from services.ingest.cli import main

main()
